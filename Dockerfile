# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS source
WORKDIR /source
COPY . .

FROM source AS build
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --bin stepup && cp target/release/stepup /stepup

FROM source AS build-harness
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --bin stepup-harness && cp target/release/stepup-harness /stepup-harness

# The simulated carrier and mail server, for `--profile demo` alone.
FROM gcr.io/distroless/cc-debian12:nonroot AS harness
COPY --from=build-harness /stepup-harness /usr/local/bin/stepup-harness
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/stepup-harness"]

# No shell and no package manager: nothing in there but the program, CA certificates and libc.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /stepup /usr/local/bin/stepup
USER 65532:65532
EXPOSE 8080 9464
ENTRYPOINT ["/usr/local/bin/stepup"]
