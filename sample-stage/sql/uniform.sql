-- Draws users uniformly: $n_users of the training users, or all if there are fewer.
-- Grain:  one row per user_id.
-- Reads:  users (user_id), interactions (user_id, brand_id).
-- Writes: user_id, brands.
-- Params: n_users, seed.
with

drawn_users as (
    select users.user_id
    from users
    order by draw(users.user_id, $seed, 0), users.user_id
    limit $n_users
),

user_brands as (
    select
        interactions.user_id,
        array_agg(interactions.brand_id) as brands
    from interactions
    inner join drawn_users on drawn_users.user_id = interactions.user_id
    group by interactions.user_id
)

select
    drawn_users.user_id,
    user_brands.brands
from drawn_users
left join user_brands on user_brands.user_id = drawn_users.user_id
order by drawn_users.user_id
