"""The learned filter over time beside filters that know the laws of motion, on targets that sensors track.

Read `world` (what is tracked, simulated by Stone Soup's models), `rivals` (Stone Soup's filters), `learned` (ours) and
`scores`.
"""
