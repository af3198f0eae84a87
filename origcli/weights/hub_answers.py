"""Asking Hugging Face's hub: again after what may pass, and what its final no means."""

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from origcli.errors import ModelError, OrigError
from origcli.runtime.atomic import storage_error
from origcli.runtime.progress import Progress
from origcli.weights.repository import HubModel

T = TypeVar("T")

ATTEMPTS = 3  # the hub's client makes several of its own each time
FIRST_WAIT_S = 1.0

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


def with_retries(work: Callable[[], T], model: HubModel, progress: Progress) -> T:
    """Calls the hub, again after failures that may pass, and names what will not."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _quiet():
                return work()
        except OfflineModeIsEnabled as error:
            raise ModelError(
                f"{model.id}: HF_HUB_OFFLINE is set, so it cannot be downloaded", model.command
            ) from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status not in _WORTH_ANOTHER_TRY:
                raise _refusal(model, error, status) from error
            failure: Exception = error
        except OrigError:
            raise
        except Exception as error:  # of many kinds: a connection that breaks while several threads use it
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise storage_error(Path(constants.HF_HUB_CACHE), error) from error
            failure = error
        reason = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
        if attempt == ATTEMPTS:
            raise ModelError(
                f"{model.id}: cannot be downloaded: {reason} (tried {ATTEMPTS} times)",
                f"check the network, then: {model.command}",
            ) from failure
        wait = FIRST_WAIT_S * 2 ** (attempt - 1)
        progress.say(f"{model.id}: {reason}; trying again in {wait:.0f} s")
        time.sleep(wait)
    raise AssertionError("unreachable")


@contextmanager
def _quiet() -> Iterator[None]:
    """The client's own remarks on its retries stay out of the log; `with_retries` reports the outcome."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _refusal(model: HubModel, error: Exception, status: int) -> ModelError:
    """The hub's final no, with what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return ModelError(
            f"{model.id}: its owner asks for consent first",
            f"accept the terms at {constants.ENDPOINT}/{model.id}, "
            f"log in with: hf auth login (or set HF_TOKEN), then: {model.command}",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelError(
            f"{model.id}: has no revision {model.revision!r}", "leave the @REVISION out for main"
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"{model.id}: the hub has no such model, or it is private",
            f"check the name; for a private one log in with: hf auth login, then: {model.command}",
        )
    if status in (401, 403):
        return ModelError(
            f"{model.id}: the Hub answered {status}: your credentials were rejected",
            f"check HF_TOKEN, or log in with: hf auth login, then: {model.command}",
        )
    return ModelError(f"{model.id}: the Hub answered {status}", f"try again later: {model.command}")
