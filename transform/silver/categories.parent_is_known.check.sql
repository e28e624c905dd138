/*
fact     = "every category's parent is in the CRM's list of categories, and is not the category itself"
severity = "warn"
*/
select c.id, c.parent_id
from silver.categories as c
where
    c.parent_id = c.id
    or c.parent_id not in (select p.id from silver.categories as p)
