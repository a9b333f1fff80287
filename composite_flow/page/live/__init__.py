"""Pages that are served while something runs: what agents infer, or how a training goes, as it happens.

Read `event_log` (what is told, and to whom), `server` (who may look), `team` and `training` (what is told).
"""
