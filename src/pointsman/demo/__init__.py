"""The demo: the main job on real programs, on a small internet of its own."""
