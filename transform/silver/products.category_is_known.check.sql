/*
fact     = "the CRM lists the category of every product"
severity = "warn"
*/
select distinct p.category_id
from silver.products as p
anti join silver.categories as c on c.id = p.category_id
where p.category_id is not null
