module example.org/cron
