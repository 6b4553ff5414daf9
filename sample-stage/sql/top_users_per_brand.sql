-- Approach 3: the $n_users_per_brand users of each brand who have the most events with it, ties
-- by draw. A brand with fewer users gives all of them; one with fewer than $volume_min gives none.
-- Grain:  one row per user_id and as_of.
-- Reads:  users (user_row, user_id, as_of),
--         interactions (user_row, user_id, brand_idx, brand_id, events),
--         brands (brand_idx, volume).
-- Writes: user_id, as_of, brands.
-- $n_users_per_brand = 10000: at most
-- $volume_min = 1: a number of training users
-- $seed = 7: of the draws
with

brand_events as (
    select
        interactions.brand_idx,
        interactions.events,
        count(*) as n_users
    from interactions
    inner join brands on brands.brand_idx = interactions.brand_idx
    where brands.volume >= $volume_min
    group by interactions.brand_idx, interactions.events
),

-- How many users of the brand have more events than these.
standings as (
    select
        brand_events.brand_idx,
        brand_events.events,
        brand_events.n_users,
        sum(brand_events.n_users) over (
            partition by brand_events.brand_idx
            order by brand_events.events desc
        ) - brand_events.n_users as n_users_above
    from brand_events
),

-- Only where the last place falls among users with the same events is there anything to draw.
tied_interactions as (
    select
        interactions.user_row,
        standings.n_users_above + row_number() over (
            partition by interactions.brand_idx
            order by
                draw(interactions.user_id, $seed, cast(interactions.brand_idx as bigint)),
                interactions.user_row
        ) as user_rank
    from standings
    inner join interactions
        on interactions.brand_idx = standings.brand_idx
        and interactions.events = standings.events
    where
        standings.n_users_above < $n_users_per_brand
        and standings.n_users_above + standings.n_users > $n_users_per_brand
),

top_users as (
    select interactions.user_row
    from standings
    inner join interactions
        on interactions.brand_idx = standings.brand_idx
        and interactions.events = standings.events
    where standings.n_users_above + standings.n_users <= $n_users_per_brand
    union
    select tied_interactions.user_row
    from tied_interactions
    where tied_interactions.user_rank <= $n_users_per_brand
),

user_brands as (
    select
        interactions.user_row,
        array_agg(interactions.brand_id) as brands
    from interactions
    inner join top_users on top_users.user_row = interactions.user_row
    group by interactions.user_row
)

select
    users.user_id,
    users.as_of,
    user_brands.brands
from user_brands
inner join users on users.user_row = user_brands.user_row
