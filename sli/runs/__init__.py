"""The job itself: discover, plan, match, tile, roll up, publish; and backfills, which do it part by part.

It may import `publishing` and the wings below it. It must not import `reading` or `command`.

- `recompute`: a run, from top to bottom; `execute`: the stages of its plan.
- `preview`: what a run would do, without doing it.
- `listed`: the files that a run works with.
- `known`: what the stages of a run work with, and what is known after some of them.
- `hour_tiles`: the stages that recompute or fill hour tiles; `amended`: the stage that amends them by new rows.
- `built`: the tiles that tasks build, in files from the task on.
- `on_disk`: hour tiles, and the day tiles merged from them, on their way to disk.
- `windows`: the stage that rolls up windows, and what that changes.
- `stretches`: the days of grains whose results are in memory at a time; `rolled_up`: the task that rolls one up.
- `outcome`: what a run did.
- `backfill`: an interval recomputed part by part, or the tiles that an SLI lacks filled.
"""
