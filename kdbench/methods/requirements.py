"""What methods require of a pair of networks. Each function returns why a requirement is not met, or None."""

from kdbench.training.method import Shapes, Task

NEEDS_TEACHER = "needs a teacher"


def same_classes(student: Shapes, teacher: Shapes | None) -> str | None:
    """Require logits that can be compared class by class."""
    if teacher is None:
        return NEEDS_TEACHER
    if student.num_classes == teacher.num_classes:
        return None
    return f"compares logits, but the teacher has {teacher.num_classes} classes and the student {student.num_classes}"


def enough_images(task: Task, min_batch_size: int) -> str | None:
    """Require a batch of at least `min_batch_size` images."""
    if task.batch_size >= min_batch_size:
        return None
    return f"compares the images of a batch and needs a batch size of at least {min_batch_size}, got {task.batch_size}"


def spatial_maps(student: Shapes, teacher: Shapes | None) -> str | None:
    """Require that at least one pair of `maps.aligned` has more than one pixel on both sides."""
    if teacher is None:
        return NEEDS_TEACHER
    for role, shapes in (("student", student), ("teacher", teacher)):
        if not spatial_stages(shapes):
            return (
                f"compares feature maps and needs stages with height and width, but the {role} has none "
                "(H = W = 1, or no stages)"
            )
    common = min(len(student.stages), len(teacher.stages))
    pairs = zip(student.stages[-common:], teacher.stages[-common:], strict=True)
    if any(min(s[1], t[1]) * min(s[2], t[2]) > 1 for s, t in pairs):
        return None
    return "compares feature maps, but no pair of the last stages of student and teacher has height and width in both"


def spatial_stages(shapes: Shapes) -> list[int]:
    """Return the indices of the stages (C, H, W) that have more than one pixel."""
    return [index for index, (_, height, width) in enumerate(shapes.stages) if height * width > 1]
