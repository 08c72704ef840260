"""What happened to each tensor when weights were put into a backbone."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WeightReport:
    """What happened to each tensor of a weight file, and to each of the net.

    source   | the file, as the user would name it
    matched  | names in the net that were filled as they are
    reshaped | "name: from shape -> to shape", filled with the same numbers in another shape
    skipped  | "name in the file: why it was not used"
    missing  | names in the net that the file does not fill
    has_tail | whether all of the tail's own weights were in the file
    digest   | sha256 of the file
    side     | of a run's weights: side of the pictures that it was trained on, pixels; 0: not known
    """

    source: str
    matched: list[str] = field(default_factory=list[str])
    reshaped: list[str] = field(default_factory=list[str])
    skipped: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    has_tail: bool = False
    digest: str = ""
    side: int = 0

    def line(self) -> str:
        """One line: how many tensors matched, were reshaped, skipped or are missing."""
        parts = [f"{len(self.matched)} matched"]
        for what in ("reshaped", "skipped", "missing"):
            many = getattr(self, what)
            if many:
                shown = ", ".join(name.partition(":")[0] for name in many[:3])
                parts.append(f"{len(many)} {what} ({shown}{', ...' if len(many) > 3 else ''})")
        return f"weights {self.source}: {', '.join(parts)}"

    def table(self) -> str:
        """All of it, one tensor a line."""
        lines = [f"weights {self.source}", f"sha256  {self.digest}"]
        for what in ("matched", "reshaped", "skipped", "missing"):
            lines += [f"{what:9}{name}" for name in getattr(self, what)]
        return "\n".join(lines)
