"""A run as a file that other programs read: ONNX, torch.export, or timm's and torchvision's own."""
