/*
fact     = "the catalogue has every product sold"
severity = "warn"
*/
select distinct l.product_id
from silver.order_lines as l
anti join silver.products as p on p.id = l.product_id
where l.product_id is not null
