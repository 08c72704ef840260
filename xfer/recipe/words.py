"""Words that people bring from other tools, and what they are called here.

One table for options of the command line, keys of recipe files and of `--set`, and arguments in
Python: timm, torchvision's references, detectron2, MMDetection, Ultralytics, fastai, Keras and the
Hugging Face trainer name the same things differently.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

# other names of tasks -> ours
TASKS = {
    "cls": "classify",
    "classification": "classify",
    "det": "detect",
    "detection": "detect",
    "seg": "segment",
    "segmentation": "segment",
}
# ours -> others' words, in lower case with underscores. Ours is a key of the recipe, or, without a
# dot, what finetune or another command takes besides.
_THEIRS: Mapping[str, str] = {
    "backbone": "model model_name arch architecture net network encoder encoder_name cfg "
                "model_id base_model trunk timm_model",
    "weights": "pretrained checkpoint ckpt initial_checkpoint init_checkpoint load_from finetune "
               "pretrained_weights weights_backbone model_weights use_pretrained from_pretrained",
    "data": "dataset datasets data_dir data_path dataset_dir dataset_path root data_root train_dir "
            "dls source_dir",
    "task": "mode problem problem_type",
    "recipe": "config config_file hyp preset",
    "out": "output output_dir out_dir save_dir work_dir project logdir log_dir exp_name "
           "experiment default_root_dir destination dest result_dir results_dir",
    "overwrite": "exist_ok force overwrite_output_dir",
    "resume": "resume_from resume_from_checkpoint auto_resume continue ckpt_path",
    "optim.lr": "lr0 learning_rate base_lr blr max_lr lr_max learnrate learn_rate rate "
                "init_lr initial_lr",
    "optim.name": "opt optimiser optimizer_name optimizer_type solver",
    "optim.weight_decay": "wd l2 decay l2_reg weightdecay",
    "optim.momentum": "mom sgd_momentum",
    "optim.freeze": "freeze_at freeze_layers freeze_backbone frozen frozen_stages trainable_layers "
                    "trainable_backbone_layers trainable freeze_encoder freeze_until",
    "optim.freeze_epochs": "freeze_epoch frozen_epochs unfreeze_epoch",
    "optim.layer_decay": "llrd layerwise_decay layer_wise_lr_decay lr_decay_rate",
    "optim.clip": "clip_grad grad_clip gradient_clip gradient_clip_val max_grad_norm clip_norm "
                  "clipnorm clip_gradients",
    "optim.accumulate": "accumulation grad_accum grad_accum_steps gradient_accumulation_steps "
                        "accumulate_grad_batches accum_iter accumulation_steps",
    "optim.ema": "model_ema ema_decay model_ema_decay use_ema moving_average",
    "optim.head_scale": "head_lr lr_head lr_mult head_lr_mult",
    "schedule.epochs": "epoch num_epochs n_epoch n_epochs max_epochs max_epoch num_train_epochs "
                       "nepochs nb_epoch num_epoch ep total_epochs",
    "schedule.steps": "max_steps num_steps max_iter max_iters iterations iters num_iters "
                      "total_steps",
    "schedule.name": "sched scheduler lr_scheduler lr_scheduler_type lr_schedule policy lr_policy "
                     "cos_lr lr_config",
    "schedule.warmup": "warmup_epochs lr_warmup_epochs warm_up num_warmup_epochs warmup_length "
                       "warmup_ratio",
    "schedule.milestones": "lr_steps decay_milestones lr_milestones decay_epochs step_epochs",
    "schedule.gamma": "lr_gamma decay_rate lr_decay",
    "schedule.final": "lrf min_lr eta_min lr_min final_lr",
    "schedule.stop_after": "early_stopping early_stop early_stopping_patience",
    "data.batch": "batch_size bs bsz batchsize ims_per_batch samples_per_gpu mini_batch "
                  "minibatch train_batch_size per_device_train_batch_size imgs_per_gpu b",
    "data.workers": "num_workers nw n_workers dataloader_num_workers j num_threads threads jobs "
                    "workers_per_gpu",
    "data.size": "imgsz img_size image_size input_size img res resolution train_crop_size "
                 "crop_size resize image_dim picture_size min_size_train train_size pixels",
    "data.augment": "aa augmentation augmentations auto_augment aug augmented data_augmentation "
                    "randaugment aug_transforms auto_augment_policy",
    "data.flip": "hflip fliplr horizontal_flip random_flip do_flip",
    "data.crop_area": "scale_range rrc_scale random_resized_crop",
    "data.limit": "fraction subset max_samples max_train_samples limit_train_batches max_images",
    "data.balance": "class_balanced balanced balanced_sampler oversample",
    "data.val": "val_split valid val_dir valid_name validation validation_split val_folder",
    "data.train": "train_split train_name train_folder",
    "data.test": "test_split test_dir test_folder",
    "data.cache_mb": "cache",
    "data.skip_bad": "ignore_errors skip_errors skip_corrupt",
    "run.seed": "random_seed random_state manual_seed set_seed",
    "run.device": "gpu gpus cuda gpu_id gpu_ids device_ids accelerator",
    "run.precision": "amp half fp16 bf16 mixed_precision amp_dtype autocast use_amp to_fp16",
    "run.compile": "torchcompile torch_compile jit",
    "run.deterministic": "reproducible deterministic_algorithms cudnn_deterministic",
    "run.plots": "plot",
    "run.track": "tracker tensorboard wandb report_to log_wandb logger loggers",
    "eval.tta": "augment_test test_time_augmentation test_augment",
    "eval.every": "val_interval eval_interval eval_freq eval_every eval_period "
                  "check_val_every_n_epoch evaluation_interval val_freq",
    "eval.batch": "val_batch_size validation_batch_size eval_batch_size "
                  "per_device_eval_batch_size batch_val",
    "run.save_minutes": "save_period save_freq save_interval checkpoint_period save_every",
    "task.dropout": "drop drop_rate ps dropout_rate",
    "task.label_smoothing": "smoothing smooth label_smooth",
    "task.mixup": "mixup_alpha mixup_fn",
    "task.cutmix": "cutmix_alpha",
    "task.class_weights": "class_weight cls_weights",
    "task.nms": "iou iou_thres nms_thresh nms_iou",
    "min_score": "conf conf_thres conf_threshold score_thr score_thresh confidence threshold",
    "draw": "save visualize show_results plot_dir save_img",
    "format": "fmt save_txt save_json",
    "layer": "layers feature_layer return_nodes return_layers out_features",
    "clf": "classifier estimator",
    "shots": "shot few_shot k_shot num_shots",
    "cv": "folds k_folds n_folds",
}  # fmt: skip

# words that have no counterpart, and why
_NONE: Mapping[str, str] = {
    **dict.fromkeys(
        ("num_classes", "nc", "n_classes", "classes_num", "num_labels", "n_out"),
        "leave it out: the classes are those found in the data",
    ),
    **dict.fromkeys(
        ("callbacks", "callback", "cbs", "hooks"),
        "there are no callbacks: the loop is one page to copy, xfer/train/loop.py",
    ),
    **dict.fromkeys(
        ("metric", "metrics", "loss_func", "loss_fn", "criterion", "loss"),
        "leave it out: the task has its loss and its scores; a task of your own: docs/extending.md",
    ),
    **dict.fromkeys(
        ("in_chans", "in_channels", "mean", "std", "normalize"),
        "leave it out: pictures are brought to what the weights were trained with",
    ),
}

# others' commands -> ours
COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "train",
            "fit",
            "learn",
            "tune",
            "fine-tune",
            "fine_tune",
            "finetuning",
            "training",
            "main",
            "retrain",
            "classification",
            "classify",
            "segment",
            "segmentation",
            "trainer",
            "run",
        ),
        "xfer finetune --data SPEC",
    ),
    **dict.fromkeys(
        ("detect", "detection", "det", "yolo", "inference_detector"),
        "xfer finetune --task detect --data SPEC` or `xfer predict RUN PATH...",
    ),
    **dict.fromkeys(
        (
            "val",
            "validate",
            "valid",
            "validation",
            "test",
            "evaluate",
            "evaluation",
            "score",
            "accuracy",
            "metrics",
            "map",
            "benchmark",
        ),
        "xfer eval RUN",
    ),
    **dict.fromkeys(
        ("infer", "inference", "prediction", "predictions", "demo", "apply", "use", "label"),
        "xfer predict RUN PATH...",
    ),
    **dict.fromkeys(("resume", "continue"), "xfer finetune --resume RUN"),
    **dict.fromkeys(
        ("extract", "embed", "embedding", "embeddings", "feature", "encode"),
        "xfer features --layer L --data SPEC -o FILE.npz",
    ),
    **dict.fromkeys(
        ("linear", "linear-probe", "linear_probe", "knn", "svm", "logreg"), "xfer probe FILE"
    ),
    **dict.fromkeys(("onnx", "convert", "deploy", "torchscript"), "xfer export RUN --format onnx"),
    **dict.fromkeys(("plot", "plots", "visualize", "html", "summary"), "xfer report RUN"),
    **dict.fromkeys(("app", "gradio", "web", "server"), "xfer serve RUN"),
    **dict.fromkeys(("dataset", "datasets"), "xfer data show SPEC"),
    **dict.fromkeys(("download", "fetch"), "xfer data get NAME"),
    **dict.fromkeys(("checks", "check", "doctor", "clean"), "xfer data check SPEC"),
    **dict.fromkeys(("pack", "cache", "proposals"), "xfer data --help"),
    **dict.fromkeys(("model", "net", "nets", "backbones", "zoo", "timm"), "xfer models ls"),
    **dict.fromkeys(("recipe", "config", "configs", "cfg", "copy-cfg", "cp"), "xfer recipes ls"),
    **dict.fromkeys(("ls", "list", "experiments", "history", "compare", "show"), "xfer runs ls"),
    **dict.fromkeys(("svd", "prune", "quantize"), "xfer compress RUN --svd auto -o DIR"),
    **dict.fromkeys(("help", "info", "usage", "man", "?"), "xfer --help"),
    **dict.fromkeys(("version", "ver"), "xfer --version"),
}

# values of a key that mean another one there: true where a word is due, and names of other tools
_VALUES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "weights": {
        "imagenet": (True, "true", "yes", "default", "pretrained", "imagenet1k", "imagenet1k_v1",
                     "imagenet1k_v2", "in1k", "imagenet-1k"),
        "none": (False, None, "false", "no", "random", "scratch", "null"),
    },
    "optim.freeze": {
        "all": (True, "true", "yes", "backbone", "trunk", "encoder"),
        "": (False, "false", "no", "none"),
    },
}  # fmt: skip
_MEANS = {
    ("weights", "imagenet"): "the published weights",
    ("weights", "none"): "random ones",
    ("optim.freeze", "all"): "train the head alone",
    ("optim.freeze", ""): "train everything",
}

_OURS = {word: ours for ours, words in _THEIRS.items() for word in words.split()}


def normal(word: str) -> str:
    """A word as the table has it: --Batch-Size is batch_size."""
    return re.sub(r"[-\s]+", "_", word.strip().lstrip("-")).lower()


def ours(word: str) -> str:
    """What another tool's word is called here: a key of the recipe, or an argument; "" if it is in
    no table."""
    return _OURS.get(normal(word), "")


def why_not(word: str) -> str:
    """Why there is no setting of this name; "" for a word that the table does not have."""
    return _NONE.get(normal(word), "")


def right_value(key: str, value: Any) -> str | None:
    """What stands here for a value that other tools take: True as weights is "imagenet"; None if
    the value is in no table."""
    asked = value.lower() if isinstance(value, str) else value
    for right, wrong in _VALUES.get(key, {}).items():
        if any(asked is word or (isinstance(word, str) and asked == word) for word in wrong):
            return right
    return None


def value_hint(key: str, value: Any, name: str = "") -> str | None:
    """A hint for a value that is right in other tools: `weights="imagenet" for the published ones`.

    Args: name: what the setting is called where it was given; the key by default.
    """
    right = right_value(key, value)
    if right is None:
        return None
    return f'{name or key}="{right}": {_MEANS[key, right]}'


def key_hint(word: str, keys: Collection[str]) -> str | None:
    """A hint for a word given as a recipe's key. Args: keys: the valid ones."""
    found = ours(word)
    if found in keys or found in ("backbone", "weights", "task") or found.startswith("task."):
        return f"did you mean {found}?"
    if found == "data":
        return "did you mean data.source, or --data SPEC on the command line?"
    if found in ("out", "recipe", "resume", "overwrite"):
        return f"--{found} on the command line"
    return why_not(word) or None


def flag_hint(word: str, flags: Mapping[str, str], options: Collection[str]) -> str | None:
    """A hint for an option that a command does not have.

    Args:
        flags: flag -> the recipe's key that it sets; options: those that the command has: --batch.
            A command that takes --set is told of keys without a flag.
    """
    own = f"--{normal(word).replace('_', '-')}"
    if own in options and own != word:
        return f"did you mean {own}?"
    found = ours(word) or (normal(word) if normal(word) in flags else "")
    flag = next((name for name, key in flags.items() if found in (name, key)), found)
    option = f"--{flag.replace('_', '-')}"
    if option in options:
        return f"did you mean {option}?"
    if "." in found and "--set" in options:
        return f"did you mean {found}=VALUE, at the end of the command?"
    return why_not(word) or None


def argument_hint(word: str, flags: Mapping[str, str], names: Collection[str]) -> str | None:
    """A hint for an argument that a function in Python does not take. Args: names: those it has."""
    found = ours(word)
    name = next((name for name, key in flags.items() if found in (name, key)), found)
    if name in names:
        return f"did you mean {name}=?"
    if "." in found:
        return f"did you mean {found.replace('.', '__')}=?"
    return why_not(word) or None
