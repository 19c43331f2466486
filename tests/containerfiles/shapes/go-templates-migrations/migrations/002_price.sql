alter table item add price;
