"""`dreamsim`: the supplement's distance, default for real models; its variants are single branches."""

from dataclasses import dataclass

from origcli.errors import ModelError
from origcli.perception.distance import Distance
from origcli.perception.metrics import Metric, Opening, register
from origcli.perception.metrics.clip import NEEDED as CLIP
from origcli.runtime.progress import Progress
from origcli.weights import dreamsim_release
from origcli.weights.dreamsim_release import ENSEMBLE, RELEASES, metric_name
from origcli.weights.fetchable import State


@dataclass(frozen=True)
class ReleaseFetchable:
    """The files of a variant of DreamSim."""

    variant: str

    @property
    def name(self) -> str:
        """What `origcli fetch` calls it."""
        return metric_name(self.variant)

    def state(self, *, verify: bool = False, variant: str | None = None) -> State:
        """See `Fetchable`."""
        what = "a single branch of DreamSim: another metric"
        if self.variant == ENSEMBLE:
            what = "DreamSim's ensemble, the default distance for real models"
        source = dreamsim_release.release(self.variant).archive.url
        if not dreamsim_release.is_fetched(self.variant):
            return State(self.name, what, source, None)

        directory, problem = dreamsim_release.directory_of(self.variant), ""
        if verify:
            try:
                dreamsim_release.verified(self.variant)
            except ModelError as error:
                problem = error.message
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        return State(self.name, what, source, directory, size, problem=problem)

    def fetch(self, progress: Progress, *, variant: str | None = None) -> None:
        """See `Fetchable`."""
        dreamsim_release.fetch_release(self.variant, progress)


def _open(opening: Opening) -> Distance:
    from origcli.perception.dreamsim import load_dreamsim

    return load_dreamsim(opening.runtime, opening.variant or ENSEMBLE)


register(
    Metric(
        name="dreamsim",
        open=_open,
        variants={
            "" if variant == ENSEMBLE else variant: (ReleaseFetchable(variant),) for variant in RELEASES
        },
        plain=ENSEMBLE,
        default_for=lambda has_detector: not has_detector,
        helpful=(CLIP,),
        sections={"dreamsim": "weights of DreamSim"},
    )
)
