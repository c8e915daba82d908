"""How Icechunk reads and writes repositories, said whole.

Icechunk takes every setting that is left open here from ``config.yaml`` of the repository, which
may be a stranger's: a concurrency of zero hangs whoever opens it. So none is left open. The figures
are Icechunk's own, but for those that are named below.
"""

from __future__ import annotations

from pathlib import Path

from icechunk import (
    CachingConfig,
    CompressionAlgorithm,
    CompressionConfig,
    ManifestConfig,
    ManifestPreloadCondition,
    ManifestPreloadConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    RepositoryConfig,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
)

from terralatent.pipeline.store.location import Location, Place

__all__ = ["repository_settings"]

TRIES, SLOWEST_MS = 8, 5_000
"""How often a request to an object store that fails is sent, and the longest pause between two
tries: half a minute in all."""

LARGEST_MANIFEST = 2**32 - 1
"""Chunks along each dimension of an array that one manifest lists: all of them."""


def repository_settings(location: Location) -> RepositoryConfig:
    """Every setting of a repository at ``location``, so that none is taken from its own file."""
    return RepositoryConfig(
        inline_chunk_threshold_bytes=512,
        get_partial_values_concurrency=10,
        max_concurrent_requests=256,
        compression=CompressionConfig(algorithm=CompressionAlgorithm.Zstd, level=3),
        caching=CachingConfig(
            num_snapshot_nodes=500_000,
            num_chunk_refs=15_000_000,
            num_transaction_changes=0,
            num_bytes_attributes=0,
            num_bytes_chunks=0,
        ),
        storage=_storage(location),
        virtual_chunk_containers={},
        manifest=ManifestConfig(
            # Manifests are read when they are needed, which is after they were checked.
            preload=ManifestPreloadConfig(
                max_total_refs=0, preload_if=ManifestPreloadCondition.false()
            ),
            splitting=ManifestSplittingConfig(
                (
                    (
                        ManifestSplitCondition.AnyArray(),
                        ((ManifestSplitDimCondition.Any(), LARGEST_MANIFEST),),
                    ),
                )
            ),
        ),
    )


def _storage(location: Location) -> StorageSettings:
    local = isinstance(location, Path)
    # Azure has no such classes, and a folder none at all.
    has_classes = isinstance(location, Place) and location.scheme in ("s3", "gs")
    storage_class = "STANDARD" if has_classes else None
    retries = (1, 0, 0) if local else (TRIES, 100, SLOWEST_MS)
    return StorageSettings(
        concurrency=StorageConcurrencySettings(
            max_concurrent_requests_for_object=5 if local else 18,
            ideal_concurrent_request_size=4_096 if local else 12 * 2**20,
        ),
        retries=StorageRetriesSettings(
            max_tries=retries[0], initial_backoff_ms=retries[1], max_backoff_ms=retries[2]
        ),
        unsafe_use_conditional_create=True,
        unsafe_use_conditional_update=not local,  # the writer's lock takes its place
        unsafe_use_metadata=not local,
        storage_class=storage_class,
        metadata_storage_class=storage_class,
        chunks_storage_class=storage_class,
        minimum_size_for_multipart_upload=100 * 2**20,
    )
