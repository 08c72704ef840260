"""Parts of the scripts that lie beside ONNX files; nothing in xfer imports them."""
