"""A student trained by torchdistill: its boxes, configured as its YAML files do; see `distill_job.py`.

torchdistill leaves the refinery's mode to the caller, and its example program never leaves training mode; here it is
eval mode, unless the job says `refinery_training`. Weight decay spares norms and biases through `module_wise_configs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from distill_job import Job, Pictures, Problem, Trained, serve, train_and_score
from torch import nn
from torchdistill.core.distillation import get_distillation_box
from torchdistill.core.training import get_training_box
from torchvision import transforms


def criterion(job: Job) -> dict[str, Any]:
    """KDLoss, or cross-entropy where no refinery is asked."""
    if job.refined == 0:
        term: dict[str, Any] = {
            "criterion": {"key": "CrossEntropyLoss", "kwargs": {"label_smoothing": job.smoothing}},
            "criterion_wrapper": {
                "key": "SimpleLossWrapper",
                "kwargs": {
                    "input": {"is_from_teacher": False, "module_path": ".", "io": "output"},
                    "target": {"uses_label": True},
                },
            },
            "weight": job.given,
        }
    else:
        # Without a share of the given label the library leaves temperature^2 and beta out.
        weight = job.refined * job.temperature**2 if job.given == 0 else 1.0
        kwargs = {"temperature": job.temperature, "alpha": job.given, "beta": job.refined}
        kwargs |= {f"{who}_module_path": "." for who in ("student", "teacher")}
        kwargs |= {f"{who}_module_io": "output" for who in ("student", "teacher")}
        kwargs |= {"label_smoothing": job.smoothing}
        term = {"criterion": {"key": "KDLoss", "kwargs": kwargs}, "weight": weight}
    return {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"only": term}}}


def configuration(job: Job, student: nn.Module, steps: int) -> dict[str, Any]:
    """What a YAML file of torchdistill says under `train`."""
    forward = {"forward_proc": "forward_batch_only"}
    decayed = [
        {"module": name, "kwargs": {"weight_decay": job.weight_decay if parameter.ndim > 1 else 0.0}}
        for name, parameter in student.named_parameters()
    ]
    return {
        "num_epochs": job.epochs,
        "train_data_loader": {
            "dataset_id": "fit",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler},
            "kwargs": {"batch_size": job.batch_size, "num_workers": job.workers, "drop_last": True},
        },
        "model": forward,
        "student": forward,
        "teacher": forward | {"requires_grad": False},
        "optimizer": {
            "key": "SGD",
            "kwargs": {"lr": job.lr, "momentum": job.momentum, "nesterov": True},
            "module_wise_configs": decayed,
        },
        "scheduler": {
            "key": "LambdaLR",
            "kwargs": {"lr_lambda": lambda step: job.rate(step, steps)},
            "scheduling_step": 1,
        },
        "criterion": criterion(job),
    }


def train(job: Job) -> Trained:
    problem = Problem.read(Path(job.problem))
    size = problem.images["fit"].shape[1]
    student = job.network(job.student, job.student_weights, problem.num_classes)
    fit = Pictures(problem.images["fit"], problem.label["fit"])
    fit.transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=job.scale, ratio=job.ratio),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(job.mean, job.std),
        ]
    )
    config = configuration(job, student, len(fit) // job.batch_size)
    device = torch.device("cpu")
    if job.refined == 0:
        box = get_training_box(student, {"fit": fit}, config, device, None, False, 1)
    else:
        refinery = job.network(job.refinery, job.refinery_weights, problem.num_classes)
        refinery.train(job.refinery_training)
        box = get_distillation_box(refinery, student, {"fit": fit}, config, device, None, False, 1)
    done = 0

    def epoch() -> None:
        nonlocal done
        box.pre_epoch_process(epoch=done)
        for images, label, supplement in box.train_data_loader:
            loss = box.forward_process(images, label, supplement)
            box.post_forward_process(loss=loss)
        box.post_epoch_process()
        done += 1

    return train_and_score(job, problem, student, epoch)


if __name__ == "__main__":
    serve(train, ("torchdistill", "torchvision"))
