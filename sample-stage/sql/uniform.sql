-- Draws users uniformly: $n_users of the training users, or all if there are fewer.
-- Grain:  one row per user_id.
-- Reads:  users (user_id), interactions (user_id, brand_id).
-- Writes: user_id, brands.
-- $n_users = 1000000: users in the sample
-- $seed = 7: of the draws
with

ranked_users as (
    select
        users.user_id,
        row_number() over (order by draw(users.user_id, $seed, 0), users.user_id) as draw_rank
    from users
),

drawn_users as (
    select ranked_users.user_id
    from ranked_users
    where ranked_users.draw_rank <= $n_users
),

user_brands as (
    select
        interactions.user_id,
        array_agg(interactions.brand_id) as brands
    from interactions
    group by interactions.user_id
)

select
    drawn_users.user_id,
    user_brands.brands
from drawn_users
left join user_brands on user_brands.user_id = drawn_users.user_id
