"""The page of `sli report`, live: a small read-only server on this machine alone.

May import `report` and the wings below it; not `command`. It is the only wing that imports `starlette` and `uvicorn`.
It reads the store and the page's own files, and no other path.

- `server`: listens on the loopback address until it is interrupted
- `application`: the routes and what they answer; `guard`: what is refused, and the headers of every answer
- `models`: the models that are served, each with the newest publication and what was made of it
- `views`: what a query string asks for; `windows`: the windows of a view as a chunk of the page
- `reading`: a view without scripts, as a form and a table
"""
