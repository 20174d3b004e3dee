"""What a network is and costs before it has seen a case: counts, timings, drawings. Used by `job=describe`."""
