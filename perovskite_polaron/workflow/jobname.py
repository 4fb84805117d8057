"""The names of a job and of a pseudopotential: what is enough to find them in a store."""

from dataclasses import dataclass


class JobName:
    """A job by its kind, label and digest."""

    kind: str
    label: str
    digest: str

    @property
    def program(self) -> str:
        """Name of the program that runs this job."""
        return {"xas": "xspectra.x", "response": "ph.x", "pdos": "projwfc.x"}.get(self.kind, "pw.x")

    @property
    def folder(self) -> str:
        """Name of this job's folder in the store."""
        return f"{self.kind}-{self.label}-{self.digest[:12]}"


@dataclass(frozen=True)
class PseudoName:
    """A pseudopotential by name only: its file is in the store."""

    element: str
    digest: str
