-- Approach 3: the $n_users_per_brand users of each brand who have the most events with it, ties
-- by draw. A brand with fewer users gives all of them; one with fewer than $volume_min gives none.
-- Grain:  one row per user_id.
-- Reads:  interactions (user_id, brand_idx, brand_id, events), brands (brand_idx, volume).
-- Writes: user_id, brands.
-- $n_users_per_brand = 10000: at most
-- $volume_min = 1: a number of training users
-- $seed = 7: of the draws
with

ranked_interactions as (
    select
        interactions.user_id,
        row_number() over (
            partition by interactions.brand_idx
            order by
                interactions.events desc,
                draw(interactions.user_id, $seed, cast(interactions.brand_idx as bigint)),
                interactions.user_id
        ) as user_rank
    from interactions
    inner join brands on brands.brand_idx = interactions.brand_idx
    where brands.volume >= $volume_min
),

top_users as (
    select distinct ranked_interactions.user_id
    from ranked_interactions
    where ranked_interactions.user_rank <= $n_users_per_brand
)

select
    interactions.user_id,
    array_agg(interactions.brand_id) as brands
from interactions
inner join top_users on top_users.user_id = interactions.user_id
group by interactions.user_id
