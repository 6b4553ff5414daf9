-- Business as usual: every training user once, with all their brands.
-- Grain:  one row per user_id.
-- Reads:  users (user_id), interactions (user_id, brand_id).
-- Writes: user_id, brands.
with

user_brands as (
    select
        interactions.user_id,
        array_agg(interactions.brand_id) as brands
    from interactions
    group by interactions.user_id
)

-- A user without a brand stays in: most of the population does not have most brands.
select
    users.user_id,
    user_brands.brands
from users
left join user_brands on user_brands.user_id = users.user_id
