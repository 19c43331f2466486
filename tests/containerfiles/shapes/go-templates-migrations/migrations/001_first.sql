create table item (name);
