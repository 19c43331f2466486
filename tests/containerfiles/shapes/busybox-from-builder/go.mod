module example.org/job
