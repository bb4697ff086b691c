"""What `import raysignal` offers in a notebook: frames in, frames out, in this process unless a Ray cluster is named.

frames      pandas, polars and Arrow frames, and files, to signals, by the rules of every other way in
study       what every result has: a frame, a summary, a picture, and how a notebook shows it
replays     one portfolio over signals
studies     comparisons, sweeps and paths, as the verbs of these names make them
service     a running service, with and without `await`
"""
