"""The stock in MongoDB: a document a product, one a reservation, and every step one update of one of them.

Note [steps on documents]. MongoDB changes one document atomically, and nothing here asks for more. So each step is one
conditional update that says itself whether it was done before, and what belongs together is written so that a process
may die between any two steps:

- A reservation is inserted first, as `taking`, with a key (`public_id`) that no other attempt ever has. Only then is
  it entered in the products' documents, under that key. It is `held` once all of them have it.
- A key whose reservation is neither `taking` nor `held` is dead for good: whatever stands under it in a product's
  document may be given back, at any time, by anybody. So a reservation is ended first, and then given back.
- A sale takes the quantity off the shelf and out of its promise in one update, so that what was promised is free for
  nobody in between.
- A movement is a mark in the product's document before it is a document of its own, see Note [marks].

A step that was cut off is finished by whoever asks for the same again (the customer's repetition under the same
reference, the event that is delivered again), and if nobody does, by the sweep. What is told (`stock.moved`, a saga's
answer) is a row of PostgreSQL's, in the consumer's transaction, which commits after the documents: an event that is
taken again finds its steps done and tells of them then.
"""
