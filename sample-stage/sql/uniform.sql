-- Draws users uniformly: $n_users of the training users, or all if there are fewer.
-- Grain:  one row per user_id and as_of.
-- Reads:  users (user_row, user_id, as_of), interactions (user_row, brand_id).
-- Writes: user_id, as_of, brands.
-- $n_users = 1000000: users in the sample
-- $seed = 7: of the draws
with

ranked_users as (
    select
        users.user_row,
        users.user_id,
        users.as_of,
        row_number() over (order by draw(users.user_id, $seed, 0), users.user_row) as draw_rank
    from users
),

drawn_users as (
    select
        ranked_users.user_row,
        ranked_users.user_id,
        ranked_users.as_of
    from ranked_users
    where ranked_users.draw_rank <= $n_users
),

user_brands as (
    select
        interactions.user_row,
        array_agg(interactions.brand_id) as brands
    from interactions
    group by interactions.user_row
)

select
    drawn_users.user_id,
    drawn_users.as_of,
    user_brands.brands
from drawn_users
left join user_brands on user_brands.user_row = drawn_users.user_row
