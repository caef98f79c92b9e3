"""Training of the classifier that Darkroom ships: from labelled photos to a packaged ONNX model.

Nothing under ``chalicelib`` imports this package, and no Lambda function carries it.
"""

import os

# Read when torch loads its threads, so set before any module here imports it. Threads that spin
# while they wait took twenty times the processor time as soon as other work wanted the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
