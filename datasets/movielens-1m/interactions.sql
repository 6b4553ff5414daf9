-- The labels: films that a user rated in the second half of their ratings, whatever the rating.
-- Grain:  one row per user_id and brand_id.
-- Reads:  ratings.
-- Writes: user_id, brand_id.
with

numbered as (
    select
        ratings."user_id:token" as user_id,
        ratings."item_id:token" as film_id,
        row_number() over (
            partition by ratings."user_id:token"
            order by ratings."timestamp:float", ratings."item_id:token"
        ) as rating_number,
        count(*) over (partition by ratings."user_id:token") as n_ratings
    from ratings
),

-- Of an odd number the middle one is in the second half.
labels as (
    select
        numbered.user_id,
        numbered.film_id
    from numbered
    where numbered.rating_number > numbered.n_ratings / 2
),

-- As in brands.sql.
large_enough as (
    select labels.film_id
    from labels
    group by labels.film_id
    having count(*) >= 20
)

select
    labels.user_id,
    labels.film_id as brand_id
from labels
inner join large_enough on large_enough.film_id = labels.film_id
order by user_id, brand_id
