"""What methods demand of a pair of networks: each function gives the reason why it is not met, or None."""

from kdbench.training.method import Shapes, Task


def same_classes(student: Shapes, teacher: Shapes | None) -> str | None:
    """Logits can only be compared class by class."""
    if teacher is None or student.num_classes == teacher.num_classes:
        return None
    return f"compares logits, but the teacher has {teacher.num_classes} classes and the student {student.num_classes}"


def enough_images(task: Task, least: int) -> str | None:
    """Relations within a batch need so many images."""
    if task.batch_size >= least:
        return None
    return f"compares images with one another and needs a batch of at least {least}, got {task.batch_size}"


def shared_space(student: Shapes, teacher: Shapes | None) -> str | None:
    """At least one of the stages that `maps.aligned` pairs must have more than one pixel on both sides."""
    if teacher is None:
        return None
    for who, shapes in (("student", student), ("teacher", teacher)):
        if not spatial(shapes):
            return f"needs stages with height and width, but those of the {who} have none (H = W = 1 or no stage)"
    common = min(len(student.stages), len(teacher.stages))
    pairs = zip(student.stages[-common:], teacher.stages[-common:], strict=True)
    if any(min(s[1], t[1]) * min(s[2], t[2]) > 1 for s, t in pairs):
        return None
    return "needs a pair of stages with height and width on both sides, but the last stages of the two have none"


def spatial(shapes: Shapes) -> list[int]:
    """The places of the stages (C, H, W) that have more than one pixel."""
    return [place for place, (_, height, width) in enumerate(shapes.stages) if height * width > 1]
