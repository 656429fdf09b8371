"""The routes of the server and what they answer: pages, data and judgements of one publication each.

Every request is answered from one publication, the newest or the one believed at `as_of`. Limit: `WORKERS` requests
work at once; others wait for their turn.
"""

from __future__ import annotations

import contextlib
import html
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from sli.errors import ConfigError, SliError, StoreError, nearest
from sli.export.prometheus import CONTENT_TYPE, exposition
from sli.judging.explain import explain
from sli.masking import masked, masked_tree
from sli.reading.publication import pinned
from sli.report.index import WORST_FIRST, ModelPage
from sli.report.page import Written, rendered_template
from sli.report.words import judgement_of
from sli.serve.guard import POLICY, Guard
from sli.serve.models import Served, key_of
from sli.serve.views import View, sli_in, slice_in, view_of

WORKERS = 4
LOG = logging.getLogger("sli.serve")
META_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')
Answer = Callable[[Served, View], Response]


class Site:
    """The models that are served and the answers about them."""

    def __init__(self, models: Mapping[str, Served]) -> None:
        self.models = models
        self.limiter = anyio.CapacityLimiter(WORKERS)
        self.health_limiter = anyio.CapacityLimiter(1)

    async def start(self, request: Request) -> Response:
        """The page of the only model, or the index of several."""
        if len(self.models) == 1:
            (address,) = self.models
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"/{address}/{query}")
        return await self._worked(lambda: paged(self._index()))

    def _index(self) -> str:
        pages = sorted(map(_entry, self.models.values()), key=lambda page: WORST_FIRST.index(page.state))
        return rendered_template("index.html", pages=pages)

    async def health(self, _: Request) -> Response:
        """Whether each model can be read, and what of it is published."""
        models = list(self.models.values())
        states = await anyio.to_thread.run_sync(
            lambda: [model.health() for model in models], limiter=self.health_limiter
        )
        fine = all(state["ok"] for state in states)
        return JSONResponse(masked_tree({"ok": fine, "models": states}), 200 if fine else 503)

    async def metrics(self, _: Request) -> Response:
        """The newest windows of all models, as Prometheus scrapes them."""
        return await self._worked(lambda: PlainTextResponse(self._exposition(), media_type=CONTENT_TYPE))

    def _exposition(self) -> str:
        metrics = []
        for model in self.models.values():
            try:
                metrics.append(model.metrics())
            except SliError as error:
                # The other models are scraped all the same; of this one the alert on absent metrics tells.
                LOG.warning("/metrics: %s: %s", model.name, error)
        return exposition(metrics)

    async def model_health(self, request: Request) -> Response:
        model = self._model(request)
        state = await anyio.to_thread.run_sync(model.health, limiter=self.health_limiter)
        return JSONResponse(masked_tree(state), 200 if state["ok"] else 503)

    def about(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that answers about one model."""

        async def endpoint(request: Request) -> Response:
            return await self._worked(lambda: answer(self._model(request), view_of(request.query_params)))

        return endpoint

    def _model(self, request: Request) -> Served:
        address = request.path_params["model"]
        if address not in self.models:
            raise HTTPException(404, address)
        return self.models[address]

    async def _worked(self, work: Callable[[], Response]) -> Response:
        return await anyio.to_thread.run_sync(work, limiter=self.limiter)


def _entry(model: Served) -> ModelPage:
    """What the index says of a model."""
    try:
        publication = model.publication()
        standing = None if publication is None else model.contents(publication).standing
        written = Written(path="", bytes=0, seconds=0.0, standing=standing)
        return ModelPage(name=model.name, file=f"{model.address}/", written=written)
    except SliError as error:
        return ModelPage(name=model.name, file=f"{model.address}/", written=None, error=error, served=True)


def paged(text: str, status: int = 200) -> HTMLResponse:
    """A page with its policy as a header too, which can also forbid to be framed."""
    policy = META_POLICY.search(text)
    own = (
        f"{html.unescape(policy[1])}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'" if policy else POLICY
    )
    return HTMLResponse(text, status, {"Content-Security-Policy": own})


def page(model: Served, view: View) -> Response:
    return paged(model.page(model.publication(view.as_of), view))


def data(model: Served, view: View) -> Response:
    publication = model.published(view.as_of)
    contents = model.contents(publication)
    return Response(
        model.chunk(publication, contents, view), headers={"Content-Encoding": "gzip"}, media_type="application/json"
    )


def judgement(model: Served, view: View) -> Response:
    publication = model.published(view.as_of)
    name, contents = sli_in(publication.config, view), model.contents(publication)
    asked = contents.slices[slice_in(view, contents.slices)].values
    one = next(standing for standing in contents.standing.slis if standing.sli == name)

    def make() -> str:
        within = {"start": view.start, "end": view.end, "against": view.against}
        with pinned(publication):
            found = explain(publication.config, name, slice=dict(asked) or None, **within)  # type: ignore[arg-type]
        return rendered_template("judgement.html", judgement=judgement_of(one, found))

    return HTMLResponse(model.kept.get(("judgement", key_of(publication), view), make))


def told(request: Request, error: SliError, status: int) -> Response:
    """An error in the form that is asked for: a page, JSON, or text."""
    wanted = request.headers.get("accept", "")
    if "text/html" in wanted:
        lines = str(error).splitlines()
        return paged(rendered_template("error.html", what=lines[0], lines=[line.strip() for line in lines[1:]]), status)
    if "application/json" in wanted:
        return JSONResponse({"error": error.to_dict()}, status)
    return PlainTextResponse(f"{error}\n", status)


def _no_such_page(models: Mapping[str, Served], path: str) -> ConfigError:
    """The error for a path: it names what its model has, or the models."""
    address, *rest = path.strip("/").split("/", 1)
    if address in models and rest:
        expected = "of this model: /, data, judgement, healthz"
        near = nearest(rest[0], ("data", "judgement", "healthz"))
    else:
        expected = f"a model: {', '.join(model.name for model in models.values())}"
        near = nearest(address, list(models))
    return ConfigError("there is no such page", where=masked(path)[:200], expected=expected, todo=near)


def application(models: Mapping[str, Served]) -> Starlette:
    """The server's application for these models, by their part of the path."""
    site = Site(models)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, SliError)
        if not isinstance(error, ConfigError) and error.where != "as_of":
            LOG.warning("%s: %s", request.url.path, error)
            return told(request, error, 503)
        return told(request, error, 400)

    async def missing(request: Request, _: Exception) -> Response:
        return told(request, _no_such_page(models, request.url.path), 404)

    async def failed(request: Request, error: Exception) -> Response:
        LOG.error("%s: a mistake in sli", request.url.path, exc_info=error)
        mistake = StoreError("this could not be answered: a mistake in sli", todo="see where `sli serve` was started")
        return told(request, mistake, 500)

    routes = [
        Route("/", site.start),
        Route("/healthz", site.health),
        Route("/metrics", site.metrics),
        Route("/{model}/", site.about(page)),
        Route("/{model}/data", site.about(data)),
        Route("/{model}/judgement", site.about(judgement)),
        Route("/{model}/healthz", site.model_health),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard), Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)],
        exception_handlers={SliError: refused, HTTPException: missing, Exception: failed},
        lifespan=partial(_warm, site),
    )


@contextlib.asynccontextmanager
async def _warm(site: Site, _: Starlette) -> AsyncIterator[None]:
    """While the server works, pages of new publications are made before somebody asks for them."""

    def look() -> None:
        for model in site.models.values():
            with contextlib.suppress(SliError):
                model.page(model.publication(), View())

    async def follow() -> None:
        while True:
            try:
                await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
            except Exception:
                LOG.exception("a mistake in sli")
            await anyio.sleep(FOLLOWED)

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        yield
        group.cancel_scope.cancel()


FOLLOWED = 2.0
"""Seconds between two looks at the stores."""
