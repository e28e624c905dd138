-- Return the ids whose newest state is a refusal.
select id
from observed
group by id
having arg_max(is_refused, fetched_at)
order by id
