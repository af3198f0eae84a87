"""Measures batches of images with one model: everything is opened once, results come one by one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from origcli.errors import InputError, NonFiniteError, OrigError
from origcli.inversion.placeholders import placeholder
from origcli.inversion.token_files import TokenFacts, write_tokens
from origcli.perception.distance import PLACEMENT
from origcli.perception.elements import layouts_of
from origcli.reports.saved_images import SavedImages, save_images
from origcli.reports.schema import (
    Estimate,
    Failure,
    ImageFacts,
    InDistribution,
    PictureFiles,
    ScoreResult,
    TokensNeeded,
)
from origcli.reports.verdict import decide
from origcli.runtime import interrupts
from origcli.runtime.atomic import make_directory
from origcli.runtime.seeding import derive_seed
from origcli.scoring.assessment import Assessment, Scale, assess
from origcli.scoring.baseline import Undirected
from origcli.scoring.batches import Batch, domain_of
from origcli.scoring.drawing import Drawer
from origcli.scoring.in_distribution import edit_test, placement_test
from origcli.scoring.learning import Learner
from origcli.scoring.query import Query, read_query
from origcli.scoring.store import decoded
from origcli.settings import InvertSettings, Settings

# Problems of one image, which cost no other image its result.
_ONE_IMAGE = (InputError, NonFiniteError)

Outcome = ScoreResult | Failure


@dataclass(frozen=True)
class Measurer:
    """Everything that measuring needs.

    Attributes:
        learner, drawer: find tokens, and draw from them.
        scale: the constants of model, metric and sampling settings.
        undirected: samples without tokens, with the drawer's seeds.
        settings: all of them; `score` and `invert` are read.
    """

    learner: Learner
    drawer: Drawer
    scale: Scale
    undirected: Undirected
    settings: Settings

    def score(self, batch: Batch, directory: Path) -> Iterator[Outcome]:
        """Measures the images of a batch, in their order; one that fails costs the others nothing.

        Args:
            directory: the report's, where images and tokens are written.
        """
        outcomes: dict[int, Outcome] = {}
        queries: dict[int, Query] = {}
        for place, source in enumerate(batch.inputs):
            try:
                queries[place] = read_query(
                    source, self.drawer.model, self.drawer.metric, self.scale, self.settings.score
                )
            except _ONE_IMAGE as raised:
                outcomes[place] = Failure.of(raised, source.where)
        invert = self.settings.invert.model_copy(update={"templates": batch.templates})
        measured = self._measure(queries, invert)
        for place in range(len(batch.inputs)):
            while place not in outcomes:
                done, problem = next(measured)
                query = queries.pop(done)
                outcomes[done] = (
                    self._result(query, directory)
                    if problem is None
                    else Failure.of(problem, query.source.where)
                )
            yield outcomes.pop(place)

    def _measure(
        self, queries: Mapping[int, Query], settings: InvertSettings
    ) -> Iterator[tuple[int, OrigError | None]]:
        """Learns and draws for queries together; gives each one's place when it is done, or its problem."""
        active = dict(queries)
        for place, query in queries.items():
            if not (query.domain.inside or query.domain.forced):
                del active[place]
                yield place, None
        for counts in self._rounds():
            places = list(active)
            failed = self.learner.learn([active[place] for place in places], counts, settings)
            for at, place in enumerate(places):
                problem = failed.get(at) or self._draw(active[place], counts)
                if problem is not None or self._is_done(active[place]):
                    del active[place]
                    yield place, problem
                interrupts.check()

    def _counts(self) -> list[int]:
        given = self.learner.given
        return list(range(1, self.settings.score.max_tokens + 1)) if given is None else sorted(given)

    def _rounds(self) -> list[list[int]]:
        """The token counts that are learned together: all, or one after the other until one suffices."""
        counts = self._counts()
        return [[m] for m in counts] if self.settings.score.until_reached else [counts]

    def _draw(self, query: Query, counts: list[int]) -> OrigError | None:
        attempts = {attempt: tokens for attempt, tokens in query.learned.items() if attempt[1] in counts}
        try:
            query.drawn.update(self.drawer.draw(query, self.settings.score.prompt, attempts))
        except _ONE_IMAGE as problem:
            return problem
        return None

    def _is_done(self, query: Query) -> bool:
        trials, limit = query.trials, self.scale.threshold.value
        if sorted(trials) == self._counts():
            return True
        means = [float(np.mean([trial.distances for trial in repeats])) for repeats in trials.values()]
        return self.settings.score.until_reached and limit is not None and min(means) <= limit

    def _result(self, query: Query, directory: Path) -> ScoreResult:
        """The result of a query that is done: its numbers, its test, its files, and its verdict."""
        random = np.random.default_rng(derive_seed(self.drawer.runtime.seed, "bootstrap", query.key))
        assessed = self._assessed(query, random)
        test, edits = self._in_distribution(query, assessed, random) if query.trials else (None, [])

        saved = self._save_images(query, edits, directory)
        embeddings = self._save_tokens(query, directory)

        # The files are named where their numbers stand.
        curve = tuple(
            point.model_copy(update={"drawings": saved.drawings[point.m]}) for point in assessed.curve
        )
        if test is not None:
            test = test.model_copy(update={"drawings": saved.edits or saved.drawings[test.m]})
        measured = replace(assessed, curve=curve)
        return self._record(query, measured, test, saved.files, embeddings)

    def _save_images(self, query: Query, edits: Sequence[Image.Image], directory: Path) -> SavedImages:
        """Writes what the page of a query shows; samples are those of the first repeat."""
        trials = query.trials
        return save_images(
            directory,
            query.source.name,
            query=query.image,
            round_trip=query.round_trip,
            drawings={m: [decoded(data) for data in query.drawn[0, m].pictures] for m in trials},
            without_tokens=self.undirected.images if trials else (),
            edits=edits,
            full=self.settings.score.keep_images,
        )

    def _record(
        self,
        query: Query,
        assessed: Assessment,
        test: InDistribution | None,
        pictures: PictureFiles,
        embeddings: tuple[str, ...],
    ) -> ScoreResult:
        """The verdict and everything that it stands on, as the report has it."""
        threshold = self.scale.threshold
        near = self._distances_without_tokens(query)
        verdict = decide(
            self.drawer.model.title,
            query.domain,
            assessed.originality,
            assessed.tokens_needed,
            threshold,
            assessed.curve,
        )
        return ScoreResult(
            id=query.source.name,
            image=ImageFacts(**query.facts),
            group=query.source.group or None,
            domain=domain_of(query.source.group),
            verdict=verdict,
            originality=assessed.originality,
            tokens_needed=assessed.tokens_needed,
            threshold=threshold,
            curve=assessed.curve,
            distance_0=Estimate.of(float(np.mean(near))),
            distances_0=tuple(near),
            l_det_0=_without_tokens(query),
            floor=Estimate.of(query.floor),
            ceiling=Estimate.of(self.scale.ceiling),
            domain_check=query.domain,
            in_distribution=test,
            percentile=assessed.percentile,
            landmarks=self.scale.landmarks,
            pictures=pictures,
            embeddings=embeddings,
            intervals=assessed.intervals,
        )

    def _distances_without_tokens(self, query: Query) -> list[float]:
        """d(0): of samples that were made without any tokens, one a seed."""
        return [self.drawer.metric.between(query.feature, feature) for feature in self.undirected.features]

    def _assessed(self, query: Query, random: np.random.Generator) -> Assessment:
        maximum = max(self._counts())
        if query.trials:
            return assess(query.trials, maximum, query.floor, self.scale, random)
        reason = "the image is out of the model's domain"
        return Assessment(
            curve=(),
            originality=Estimate.missing(reason),
            tokens_needed=TokensNeeded(kind="not-measured", maximum=maximum),
            percentile=None,
            intervals="",
        )

    def _save_tokens(self, query: Query, directory: Path) -> tuple[str, ...]:
        """Writes the tokens of the first repeat, one file an m; names relative to the report."""
        if self.learner.given is not None or not query.learned:
            return ()
        make_directory(directory / "embeddings")
        names = []
        for m in query.trials:
            names.append(f"embeddings/{query.source.name}-m{m}.safetensors")
            token = placeholder(query.source.name, m)
            learned, model = query.learned[0, m], self.drawer.model
            facts = TokenFacts(model.name, model.weights_hash, learned.steps, self.learner.runtime.seed)
            write_tokens(directory / names[-1], token, learned.vectors, facts)
        return tuple(names)

    def _in_distribution(
        self, query: Query, assessed: Assessment, random: np.random.Generator
    ) -> tuple[InDistribution | None, list[Image.Image]]:
        """The test that fits the model, and its samples."""
        replicates = self.settings.score.bootstrap
        if self.drawer.metric.test == PLACEMENT:
            m = _best(assessed)
            layouts = layouts_of(query.drawn[0, m].facts)
            others = self.undirected.features
            return placement_test(query.feature, layouts, others, m, replicates, random), []
        if self.drawer.similarity is None:
            return None, []
        wanted = self.settings.score.edit_tokens
        m = max((count for count in query.trials if count <= wanted), default=min(query.trials))
        prompt = self.settings.score.edit_prompt
        edited = self.drawer.draw(query, prompt, {(0, m): query.learned[0, m]})[0, m]
        test = edit_test(
            query.drawn[0, m].facts["similarity"],
            edited.facts["similarity"],
            edited.distances,
            float(np.mean(self._distances_without_tokens(query))),
            m,
            prompt,
            replicates,
            random,
        )
        return test, [decoded(data) for data in edited.pictures]


def _best(assessed: Assessment) -> int:
    """The m to test at: the least that suffices, else the one whose samples come nearest."""
    if assessed.tokens_needed.kind == "reached" and assessed.tokens_needed.m is not None:
        return assessed.tokens_needed.m
    return min(assessed.curve, key=lambda point: point.distance.value or 0.0).m


def _without_tokens(query: Query) -> Estimate:
    losses = [tokens.l_det_none for tokens in query.learned.values() if tokens.l_det_none is not None]
    return Estimate.of(float(np.mean(losses))) if losses else Estimate.missing("no tokens were learned")
