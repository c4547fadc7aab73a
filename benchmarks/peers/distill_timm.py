"""A student trained by timm: its task (`timm.task`), loader, transforms, optimiser and schedule; see `distill_job.py`.

PyPI's timm brings no train.py; this is the shortest loop around the pieces that carry the method. The networks get the
three attributes that the task asks of a timm model.
"""

from __future__ import annotations

from pathlib import Path

import torch
from distill_job import Job, Pictures, Problem, Trained, serve, train_and_score
from timm.data import create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.task import ClassificationTask, LogitDistillationTask, TrainingTask
from torch import nn


def as_timm(net: nn.Module, job: Job, num_classes: int) -> nn.Module:
    net.num_classes, net.in_chans = num_classes, 3  # type: ignore[assignment]
    net.pretrained_cfg = {"mean": job.mean, "std": job.std}  # type: ignore[assignment]
    return net


def make_task(job: Job, student: nn.Module, num_classes: int) -> TrainingTask:
    smoothed = {"smoothing": job.smoothing}
    if job.refined == 0:
        return ClassificationTask(student, criterion_kwargs=smoothed, verbose=False)
    teacher = as_timm(job.network(job.refinery, job.refinery_weights, num_classes), job, num_classes)
    return LogitDistillationTask(
        student,
        teacher,
        criterion_kwargs=smoothed,
        task_loss_weight=job.given,
        distill_loss_weight=job.refined,
        temperature=job.temperature,
        verbose=False,
    )


def train(job: Job) -> Trained:
    problem = Problem.read(Path(job.problem))
    classes, size = problem.num_classes, problem.images["fit"].shape[1]
    student = as_timm(job.network(job.student, job.student_weights, classes), job, classes)
    task = make_task(job, student, classes)
    loader = create_loader(
        Pictures(problem.images["fit"], problem.label["fit"]),
        input_size=(3, size, size),
        batch_size=job.batch_size,
        is_training=True,
        scale=job.scale,
        ratio=job.ratio,
        color_jitter=None,
        interpolation="bilinear",
        mean=job.mean,
        std=job.std,
        num_workers=job.workers,
        device=torch.device("cpu"),
    )
    optimizer = create_optimizer_v2(
        student, opt="sgd", lr=job.lr, momentum=job.momentum, weight_decay=job.weight_decay
    )  # timm's sgd is Nesterov's; norms and biases are not decayed
    warmup = round(job.warmup_epochs * len(loader))
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=job.epochs * len(loader) - warmup,
        warmup_t=warmup,
        warmup_lr_init=job.lr / (warmup + 1),
        warmup_prefix=True,
        t_in_epochs=False,
    )
    step = 0

    def epoch() -> None:
        nonlocal step
        task.train()
        for images, label in loader:
            task(images, label)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            schedule.step_update(step)

    return train_and_score(job, problem, student, epoch)


if __name__ == "__main__":
    serve(train, ("timm", "torchvision"))
