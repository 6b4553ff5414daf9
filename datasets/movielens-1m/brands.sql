-- Films that at least 20 users rated in their second half.
-- Grain:  one row per brand_id (film).
-- Reads:  ratings, films.
-- Writes: brand_id, name = title and year of release.
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

-- Of an odd number the middle one is in the second half. Nobody rates a film twice.
large_enough as (
    select numbered.film_id
    from numbered
    where numbered.rating_number > numbered.n_ratings / 2
    group by numbered.film_id
    having count(*) >= 20
),

named as (
    select
        large_enough.film_id as brand_id,
        concat(
            films."movie_title:token",
            ' (', cast(cast(films."release_year:float" as bigint) as varchar), ')'
        ) as name
    from large_enough
    inner join films on films."item_id:token" = large_enough.film_id
)

select * from named
order by brand_id
