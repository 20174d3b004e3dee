"""How a process behaves: files, randomness, signals, threads, memory, progress. Depends on `errors` alone."""
