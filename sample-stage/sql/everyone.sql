-- Business as usual: every training user once, with all their brands.
-- Grain:  one row per user_id and as_of.
-- Reads:  users (user_row, user_id, as_of), interactions (user_row, brand_id).
-- Writes: user_id, as_of, brands.
with

user_brands as (
    select
        interactions.user_row,
        array_agg(interactions.brand_id) as brands
    from interactions
    group by interactions.user_row
)

-- A user without a brand stays in: most of the population does not have most brands.
select
    users.user_id,
    users.as_of,
    user_brands.brands
from users
left join user_brands on user_brands.user_row = users.user_row
