/*
fact     = "every product's category is in the CRM's list of categories"
severity = "warn"
*/
select distinct p.category_id
from silver.products as p
anti join silver.categories as c on c.id = p.category_id
where p.category_id is not null
