int trace_open(void *context) { return 0; }
