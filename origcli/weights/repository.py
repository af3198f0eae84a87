"""A repository of Hugging Face's hub: its id, its commit, and the command that fetches it."""

from dataclasses import dataclass

from origcli.weights.pipelines import PartFiles


@dataclass(frozen=True)
class HubModel:
    """A model repository and what is needed of it.

    Attributes:
        id: `owner/name`.
        revision: commit, tag or branch.
        name: what `origcli fetch` calls it, where it has a name of its own.
        files: of a model and its tokenizer in one directory; `None` for a diffusers pipeline, whose index
            says what is needed.
    """

    id: str
    revision: str = "main"
    name: str = ""
    files: PartFiles | None = None

    @property
    def command(self) -> str:
        """What fetches it."""
        at = f"@{self.revision}" if self.revision != "main" else ""
        return f"origcli fetch {self.name or self.id + at}"
