    .{ .name = "lines", .root = "src/main.zig" }
