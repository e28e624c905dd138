/*
fact = "support, confidence and lift follow from the counts"
*/
select product_id, other_product_id
from gold.basket_pairs
where
    (abs(support * orders_count - both_count) <= 0.00000001 * orders_count) is not true
    or (abs(confidence * product_count - both_count) <= 0.0001 * product_count) is not true
    or (abs(other_confidence * other_count - both_count) <= 0.0001 * other_count) is not true
    or (abs(lift - both_count::double * orders_count / product_count / other_count) <= 0.0001) is not true
