"""Running calls: gateway, workers, engines, jobs, training and evaluation."""
