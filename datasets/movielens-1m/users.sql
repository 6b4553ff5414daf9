-- Who a user is and the first half of their ratings; nothing later is read for a feature.
-- Grain:  one row per user_id.
-- Reads:  ratings, people.
-- Writes: user_id; past, past_ratings (films and their ratings, same order); profile (ids:
--         0 female, 1 male, 2 to 8 age group, 9 to 29 occupation); log_past = ln(1 + films
--         rated so far), mean_rating.
with

numbered as (
    select
        ratings."user_id:token" as user_id,
        ratings."item_id:token" as film_id,
        ratings."rating:float" as rating,
        row_number() over (
            partition by ratings."user_id:token"
            order by ratings."timestamp:float", ratings."item_id:token"
        ) as rating_number,
        count(*) over (partition by ratings."user_id:token") as n_ratings
    from ratings
),

-- Of an odd number the middle one is in the second half.
history as (
    select
        numbered.user_id,
        numbered.film_id,
        numbered.rating
    from numbered
    where numbered.rating_number <= numbered.n_ratings / 2
),

-- To have rated a film counts most, the rating itself half of that up or down: 0.5 to 1.5.
past_lists as (
    select
        history.user_id,
        array_agg(history.film_id order by history.film_id) as past,
        array_agg(1.0 + (history.rating - 3) / 4.0 order by history.film_id) as past_ratings,
        count(*) as n_films,
        avg(history.rating) as mean_rating
    from history
    group by history.user_id
),

profiles as (
    select
        people."user_id:token" as user_id,
        [
            case people."gender:token" when 'F' then 0 when 'M' then 1 end,
            case cast(people."age:float" as bigint)
                when 1 then 2 when 18 then 3 when 25 then 4 when 35 then 5
                when 45 then 6 when 50 then 7 when 56 then 8
            end,
            9 + cast(people."occupation:float" as bigint)
        ] as profile
    from people
)

select
    profiles.user_id,
    past_lists.past,
    past_lists.past_ratings,
    profiles.profile,
    ln(1.0 + past_lists.n_films) as log_past,
    past_lists.mean_rating
from profiles
inner join past_lists on past_lists.user_id = profiles.user_id
order by user_id
