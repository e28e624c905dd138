/*
fact     = "the parent of every category is another category that the CRM lists"
severity = "warn"
*/
select c.id, c.parent_id
from silver.categories as c
where
    c.parent_id = c.id
    or c.parent_id not in (select p.id from silver.categories as p)
