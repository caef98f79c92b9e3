"""Darkroom's logic; `app.py` holds the triggers.

    POST /images ──► api.images ── row: pending_upload, link to the uploads bucket
    upload ──► S3 event ──► pipeline.ingest ── row: queued ──► preprocessing queue
    preprocessing queue ──► pipeline.preprocess ── model input in S3 ──► inference queue
    inference queue ──► pipeline.infer ── results in S3, row: completed
    dead-letter queues ──► pipeline.bury ── letter kept in S3, row: *_failed with the reason
    images table's stream ──► pipeline.announce ── topic image-events, then the mark
    POST /track ──► api.tracking ── update and current state in the tracking table
    its stream ──► pipeline.notify ──► notification queue ──► pipeline.mail ── row, then SES
    every 5 minutes ──► pipeline.check ── parcels that got stuck: an event

Imports point one way: container → pipeline, api → batch, imaging, inference,
aws → images, messages → errors, settings.
"""
