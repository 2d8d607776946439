FROM {base}
{tools}
LABEL authors="someone" \
      description="image of a pipeline"
COPY README.md /
RUN conda env create --quiet -f /README.md && conda clean -a
ENV PATH="/opt/conda/envs/nf-core/bin:$PATH"
RUN conda env export --name x > /x.yml
