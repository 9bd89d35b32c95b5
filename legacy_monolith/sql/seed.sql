-- Seeding of the shop, set by set. Every row is a function of its number and of %(seed)s alone:
-- hashint8extended(number, seed + salt), its sign bit cleared, gives the digits to choose by.
-- Parameters: seed, users, products, orders, password, on_hand.

-- name: categories -- the shelves
INSERT INTO catalog_category (id, name)
SELECT n, name
FROM unnest(ARRAY['Books', 'Möbel', 'Café & Küche', '玩具', 'Jardín', 'Аудио', 'Sport ⚽', 'Kids'' wear', 'Œuvres',
                  'Pets 🐾', '"Odds" & <ends>', 'Zubehör']) WITH ORDINALITY AS shelf (name, n);

-- name: products -- names in many scripts, prices of awkward scale, one in fifty no longer sold
INSERT INTO catalog_product (id, sku, name, price, currency, category_id, attributes, active)
SELECT n,
       'SKU-' || lpad(n::text, 5, '0'),
       (ARRAY['Lamp', 'Stuhl „Größe L“', 'Cafe' || chr(769) || ' cup', '折り紙 🗾', 'O''Reilly''s "guide"', 'Ψηφίο',
              'Family 👩‍👩‍👧 game', 'مصباح', 'back\slash', 'Very long ' || repeat('name ', 20)])[1 + mod(h, 10)]
           || ' ' || n,
       CASE mod(n, 25) WHEN 1 THEN 0.10 WHEN 2 THEN 0.1 WHEN 3 THEN 1000 ELSE (100 + mod(h / 11, 49900)) / 100.0 END,
       'EUR',
       1 + mod(h / 13, 12),
       (ARRAY['{}', '{"colour": "grün", "size": null}', '{"b": 1, "a": 2, "aa": {"z": [], "y": [null]}}',
              '{"weight_kg": 0.10, "stock_code": "007"}', '{"zero": -0, "big": 12345678901234567890}']
       )[1 + mod(h / 17, 5)]::jsonb,
       mod(n, 50) <> 49
FROM generate_series(1, %(products)s::bigint) AS n
CROSS JOIN LATERAL (SELECT hashint8extended(n, %(seed)s + 1) & 9223372036854775807 AS h) AS random;

-- name: stock -- the same quantity of everything is on hand once all seeded orders are accounted for
INSERT INTO inventory_stock (id, product_id, on_hand)
SELECT id, id, %(on_hand)s FROM catalog_product;

-- name: users -- customers with one shared password and names that break naive code
INSERT INTO accounts_user (id, password, is_superuser, first_name, last_name, is_staff, is_active, date_joined, email)
SELECT n,
       %(password)s,
       false,
       (ARRAY['Ada', 'Zoë', 'Rene' || chr(769) || 'e', '', '太郎', 'مريم', 'Nguyễn', 'Fox 🦊', 'D''Arcy', ' padded '])
           [1 + mod(h, 10)],
       (ARRAY['Lovelace', 'Öztürk', 'O''Brien', '', '山田', 'van der Berg', 'Žižek', 'Null', 'de "Quote"', 'ﬁne\n'])
           [1 + mod(h / 11, 10)],
       false,
       true,
       timestamptz '2022-01-01 00:00:00.000001+05:45' + mod(h / 13, 30000000) * interval '1 second',
       'shopper' || n || '@example.com'
FROM generate_series(1, %(users)s::bigint) AS n
CROSS JOIN LATERAL (SELECT hashint8extended(n, %(seed)s + 2) & 9223372036854775807 AS h) AS random;

-- name: lines -- one to four lines an order; one order in 4,999 has the greatest total the column holds
INSERT INTO orders_orderline (id, order_id, product_id, quantity, unit_price, gift_message)
SELECT (n - 1) * 4 + j,
       n,
       product.id,
       CASE WHEN great AND j = 1 THEN 100 WHEN great THEN 1 ELSE 1 + mod(h / 7, 5) END,
       CASE WHEN great AND j = 1 THEN 99999999.99 WHEN great THEN 0.99 ELSE product.price END,
       (ARRAY[NULL, NULL, NULL, NULL, NULL, '', 'Happy birthday 🎂', 'À bientôt, Ame' || chr(769) || 'lie',
              E'two\nlines\tand a tab', 'NULL', '\N', ' '])[1 + mod(h / 1009, 12)]
FROM generate_series(1, %(orders)s::bigint) AS n
CROSS JOIN LATERAL (
    SELECT mod(n, 4999) = 17 AS great, hashint8extended(n, %(seed)s + 3) & 9223372036854775807 AS of_order
) AS drawn
CROSS JOIN generate_series(1, 4) AS j
CROSS JOIN LATERAL (SELECT hashint8extended(n * 4 + j, %(seed)s + 4) & 9223372036854775807 AS h) AS random
JOIN catalog_product AS product ON product.id = 1 + mod(h, %(products)s)
WHERE j <= CASE WHEN great THEN 2 ELSE 1 + mod(of_order, 4) END;

-- name: orders -- half of them shipped, a fifth to one customer in twenty, over three and a half years
INSERT INTO orders_order (id, public_id, user_id, status, total, discount, currency, note, client_reference,
                          shipping_address, placed_at, paid_at, updated_at)
SELECT n,
       md5(%(seed)s || ':' || n)::uuid,
       1 + mod(h / 3, CASE WHEN mod(h, 5) = 0 THEN greatest(%(users)s / 20, 1) ELSE %(users)s END),
       status,
       total,
       (ARRAY[NULL, NULL, NULL, NULL, NULL, 0, 0.10, 0.1, round(total / 10, 2), least(total, 9999999999.99)])
           [1 + mod(h / 101, 10)],
       CASE WHEN mod(h / 103, 50) = 0 THEN 'USD' ELSE 'EUR' END,
       (ARRAY[NULL, NULL, NULL, NULL, NULL, NULL, '', '', 'Grüße 🎁 an Zoe' || chr(776), ' outer spaces ', 'null',
              E'first\r\nsecond', '"double" ''single'' \back', 'مرحبا 👩‍👩‍👧‍👦', '{"not": "json"}', repeat('long ', 200)])
           [1 + mod(h / 107, 16)],
       CASE mod(h / 109, 4) WHEN 0 THEN 'ref-' || n WHEN 1 THEN 'repeated' ELSE '' END,
       CASE mod(h / 113, 10)
           WHEN 0 THEN '{}'
           WHEN 1 THEN '{"street": null, "geo": {"lat": null, "lon": [null, {"deep": null}]}}'
           WHEN 2 THEN '{"b": 1, "a": 2, "aa": 3, "B": 4, "é": 5, "": "empty key"}'
           WHEN 3 THEN '{"big": 123456789012345678901234567890.123456789, "tiny": 1e-20, "zero": -0, "zero point": -0.0}'
           WHEN 4 THEN '{"name": "山田 太郎", "city": "東京 🗼", "zip": "00123", "quote": "\"\\"}'
           ELSE jsonb_build_object('name', 'Customer ' || n, 'street', 'Straße ' || mod(h, 300), 'zip',
                                   lpad(mod(h, 99999)::text, 5, '0'), 'city', 'Köln', 'country', 'DE')
       END::jsonb,
       placed_at,
       paid_at,
       coalesce(paid_at, placed_at) + interval '1 second'
FROM (SELECT order_id AS n, sum(quantity * unit_price) AS total FROM orders_orderline GROUP BY order_id) AS sums
CROSS JOIN LATERAL (SELECT hashint8extended(n, %(seed)s + 5) & 9223372036854775807 AS h) AS random
CROSS JOIN LATERAL (
    SELECT (ARRAY['shipped', 'shipped', 'shipped', 'shipped', 'shipped', 'paid', 'paid', 'placed', 'placed',
                  'cancelled'])[1 + mod(h / 127, 10)] AS status,
           CASE mod(n, 997)
               WHEN 1 THEN timestamp '2024-10-27 02:30:00.000001' AT TIME ZONE 'Europe/Berlin'
               WHEN 2 THEN timestamp '2024-03-31 02:30:00' AT TIME ZONE 'Europe/Berlin'
               WHEN 3 THEN timestamp '1999-12-31 23:59:59.999999' AT TIME ZONE 'Pacific/Kiritimati'
               ELSE (timestamp '2023-01-01' + mod(h / 131, 110000000) * interval '1 second'
                     + mod(h / 137, 1000000) * interval '1 microsecond')
                    AT TIME ZONE (ARRAY['UTC', 'Asia/Kathmandu', 'America/St_Johns', 'Australia/Lord_Howe'])
                                 [1 + mod(h / 139, 4)]
           END AS placed_at
) AS chosen
CROSS JOIN LATERAL (
    SELECT CASE
               WHEN status = 'placed' OR status = 'cancelled' AND mod(h / 149, 2) = 0 THEN NULL
               ELSE placed_at + mod(h / 151, 100000000) * interval '1 millisecond'
           END AS paid_at
) AS settled;

-- name: payments -- one for each order, in the state that the order asks for
INSERT INTO payments_payment (id, order_id, amount, status, created_at, updated_at)
SELECT id, id, total,
       CASE status WHEN 'placed' THEN 'authorised' WHEN 'cancelled' THEN 'refunded' ELSE 'captured' END,
       placed_at, updated_at
FROM orders_order;

-- name: movements ordered -- what each line took from the stock
INSERT INTO inventory_movement (id, product_id, order_id, delta, reason, created_at)
SELECT %(products)s + line.id, line.product_id, line.order_id, -line.quantity, 'ordered', placed.placed_at
FROM orders_orderline AS line
JOIN orders_order AS placed ON placed.id = line.order_id;

-- name: movements cancelled -- what cancelled orders put back
INSERT INTO inventory_movement (id, product_id, order_id, delta, reason, created_at)
SELECT %(products)s + 4 * %(orders)s + line.id, line.product_id, line.order_id, line.quantity, 'cancelled',
       cancelled.updated_at
FROM orders_orderline AS line
JOIN orders_order AS cancelled ON cancelled.id = line.order_id AND cancelled.status = 'cancelled';

-- name: movements received -- the deliveries that make the stock the sum of its movements
INSERT INTO inventory_movement (id, product_id, delta, reason, created_at)
SELECT stock.product_id, stock.product_id, stock.on_hand - coalesce(moved.delta, 0), 'received',
       timestamptz '1999-01-01 00:00:00+00'
FROM inventory_stock AS stock
LEFT JOIN (SELECT product_id, sum(delta) AS delta FROM inventory_movement GROUP BY product_id) AS moved USING (product_id);

-- name: last orders -- what the signal would have noted
UPDATE accounts_user SET last_order_id = latest.id
FROM (SELECT DISTINCT ON (user_id) user_id, id FROM orders_order ORDER BY user_id, placed_at DESC, id DESC) AS latest
WHERE accounts_user.id = latest.user_id;
