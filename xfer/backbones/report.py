"""What happened to each tensor when weights were put into a backbone."""

from __future__ import annotations

from dataclasses import dataclass, field

from xfer.errors import listed


@dataclass(frozen=True, slots=True)
class WeightReport:
    """What happened to each tensor of a weight file, and to each tensor of the net.

    source   | the file, as the user named it
    matched  | names in the net that were filled without reshaping
    reshaped | "name: from shape -> to shape", filled with the same numbers in another shape
    skipped  | "name in the file: why it was not used"
    missing  | names in the net that the file did not fill
    has_tail | whether all of the tail's own weights were in the file
    digest   | sha256 of the file
    part     | where in the file they lie, "" for the top
    others   | other parts of the file that were not used
    notes    | lines to print with the report
    side     | for weights of a run: side of its training pictures, pixels; 0: unknown
    """

    source: str
    matched: list[str] = field(default_factory=list[str])
    reshaped: list[str] = field(default_factory=list[str])
    skipped: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    has_tail: bool = False
    digest: str = ""
    side: int = 0
    part: str = ""
    others: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list[str])

    def line(self) -> str:
        """One line: how many tensors matched, were reshaped, skipped or are missing; then notes."""
        parts = [f"{len(self.matched)} matched"]
        for what in ("reshaped", "skipped", "missing"):
            many = getattr(self, what)
            if many:
                shown = ", ".join(name.partition(":")[0] for name in many[:3])
                parts.append(f"{len(many)} {what} ({shown}{', ...' if len(many) > 3 else ''})")
        where = f" ({self.part})" if self.part else ""
        line = f"weights {self.source}{where}: {', '.join(parts)}"
        if self.others:
            line += f"; also in the file, not used: {listed(self.others, 3)}"
        return "\n".join([line, *self.notes])

    def table(self) -> str:
        """The full report, one tensor per line."""
        lines = [f"weights {self.source}", f"sha256  {self.digest}"]
        lines += [f"part     {self.part}"] * bool(self.part)
        lines += [f"other    {name}" for name in self.others]
        for what in ("matched", "reshaped", "skipped", "missing"):
            lines += [f"{what:9}{name}" for name in getattr(self, what)]
        return "\n".join(lines)
