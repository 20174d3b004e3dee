"""What a network is and costs before it has seen a case: counts, timings, a drawing. Used by `job=describe`."""
