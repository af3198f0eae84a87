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
        license: what its owner publishes it under.
        gigabytes: about how much there is to download; the hub says it exactly before it begins.
        gated: its owner wants the license accepted on its page first.
    """

    id: str
    revision: str = "main"
    name: str = ""
    files: PartFiles | None = None
    license: str = ""
    gigabytes: float | None = None
    gated: bool = False

    @property
    def terms(self) -> str:
        """The license, and what it takes to get the model."""
        if not self.gated:
            return self.license
        return f"{self.license}; accept it at https://huggingface.co/{self.id}, then set HF_TOKEN"

    @property
    def command(self) -> str:
        """What fetches it."""
        at = f"@{self.revision}" if self.revision != "main" else ""
        return f"origcli fetch {self.name or self.id + at}"
